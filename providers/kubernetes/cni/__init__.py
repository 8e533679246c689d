"""The CNI plugin: a pod's netdev is its allocation, so there is no file, no database and no collector that could be wrong."""
