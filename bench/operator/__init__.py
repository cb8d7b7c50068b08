"""The operator at scale: real control plane, kwok for nodes, scripted answers for the managed services."""
