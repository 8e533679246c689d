"""One contract between pcn and what serves a service outside its own process: slow-path workers, and remote services.

HTTP/1.1 with JSON, over a unix socket or a socket that a child inherits; docs/rpc.md lists the functions. `contract` is the
data, `exchange` HTTP without I/O; `client` (asyncio) and `blocking` (threads) ask, `server` (one socket in anybody's loop) and
`serve` (asyncio, for services elsewhere) answer.
"""
