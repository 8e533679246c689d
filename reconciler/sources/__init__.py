"""Sources of documents beside files: a Git repository, etcd. Each feed maintains a directory, which the agent watches.

    git, etcd   a `Source`: the current revision, and notification of the next one
    spool       a feed's directory, replaced atomically, and its previous contents
    guard       whether a new revision removes too much
    feed        the thread that synchronises the directory with its source, and reports the host's status to the source
    fleet       the statuses that hosts reported
"""
