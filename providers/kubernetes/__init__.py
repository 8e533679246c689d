"""The Kubernetes network provider: a node's pods, services and network policies as one topology (docs/kubernetes.md)."""
