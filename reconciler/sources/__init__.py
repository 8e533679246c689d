"""Where documents originate from beside files: a Git repository, etcd. Each feed keeps a directory, which the agent watches.

    git, etcd   a `Source`: what there is now, and when there may be something else
    spool       its directory, exchanged as a whole, and what was in it before
    guard       whether a new revision takes away too much
    feed        the thread that keeps a directory as its source says, and states how the host does where the source is
    fleet       what hosts have said of themselves
"""
