"""A real Kubernetes cluster of processes and network namespaces, for machines without Docker."""
