"""One contract between pcn and what serves a service outside its own process: slow-path workers, and remote services.

HTTP/1.1 with JSON, over a unix socket or a socket that a child inherits; docs/rpc.md lists the functions. `contract` is the
data, `client` asks (asyncio), `server` answers (one socket in anybody's loop).
"""
