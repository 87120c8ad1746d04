"""Files become data versions: events are recorded, a window closes, the exact blobs are named by their content and registered."""
