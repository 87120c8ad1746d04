"""The ports on Azure. SDK exceptions end here; SDKs are imported on first use, since some of them cost seconds."""
