"""RESTCONF (RFC 8040) over the same models and writes as Polycube's paths.

    /restconf/data/router:router=r1/ports=p1/ip      is      /polycube/v1/router/r1/ports/p1/ip

A service's module describes one cube; here its cubes are a list with the module's name and the key `name`. A request is mapped to
the one below /polycube/v1 (`paths`), and its answer to RESTCONF's form (`encoding`).
"""

from reconciler.api.restconf.encoding import refused
from reconciler.api.restconf.resources import answer

__all__ = ["answer", "refused"]
