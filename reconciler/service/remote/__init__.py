"""Services that run elsewhere: in a process of this host, or on another one (docs/remote-services.md).

    places     where they are: sockets in /run/pcn/services, files in /etc/pcn/services
    manifest   what one says of itself: model, C, functions; its digest is its identity
    kept       what is kept on disk of each: its manifest, and answers by digest of the question
    contact    calls one, and ensures that it is still the one that was agreed on
    impl       a `ServiceImpl` that asks it; `wire` writes questions and reads answers; `honesty` holds them against one another
    slowpath   hands it packets, in its worker
    offer      the other side: a service of a directory as functions that can be served
"""

from reconciler.service.remote.finder import Finder, Found

__all__ = ["Finder", "Found"]
