"""What the system tells about itself: traces, metrics, logs, and a small store to see traces in.

Nothing in here imports the mesh or a service.
"""
