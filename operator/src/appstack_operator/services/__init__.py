"""Clients for what is not Kubernetes: Patroni's REST API, Sentinel, RabbitMQ's management API.

Each module offers `async observe_NAME(stack, pods, credentials) -> …Answers` (types in observed.py), with
time-outs of a second or two; it never raises for a service that does not answer: that is an answer too.
"""
