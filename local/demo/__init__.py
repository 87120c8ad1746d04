"""`make demo`: the system's main job, shown live. It uploads files and sends requests; the rest is the system's own doing."""
