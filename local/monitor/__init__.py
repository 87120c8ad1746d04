"""What the app reads of Azure Monitor: the metrics of endpoints, and their traffic log in Log Analytics."""
