"""`make demo`: the system's main job, shown live. The demo uploads files and sends requests; everything else is the system's own doing."""
