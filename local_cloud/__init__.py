"""The services' protocols on loopback, doing real work, for the demo and the tests.

``python -m local_cloud serve --state DIR`` answers on 127.0.0.1 what Azure would answer, to the real and unchanged
SDK clients, and really runs the workloads. From Python use `local_cloud.process.LocalCloud`.
Every service is one ``*_api`` module; `server` mounts them, `state` holds what they share.
"""
