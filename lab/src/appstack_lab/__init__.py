"""The lab: real Kubernetes components as processes, one network namespace per node."""
