"""The live graph: read back from the kernel, and changed there. The only users of the kernel room below the verbs."""
