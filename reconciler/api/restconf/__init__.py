"""RESTCONF (RFC 8040) over the same models and the same writes as Polycube's paths.

    /restconf/data/router:router=r1/ports=p1/ip      is      /polycube/v1/router/r1/ports/p1/ip

A service's module describes one cube; here its cubes are a list of the module's name, by `name`. A request is turned into the one
that does the same below /polycube/v1, and its answer into RESTCONF's form: `paths` has the first, `encoding` the second.
"""

from reconciler.api.restconf.encoding import refused
from reconciler.api.restconf.resources import answer

__all__ = ["answer", "refused"]
