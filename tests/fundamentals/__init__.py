"""The tutorial: read these in order of their numbers. Each is a whole small program against a real server."""
