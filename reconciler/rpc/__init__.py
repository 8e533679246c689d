"""The RPC contract between pcn and services outside its process: slow-path workers, and remote services.

HTTP/1.1 with JSON, over a unix socket or a socket that a child inherits; docs/rpc.md lists the functions. `contract` is the
data, `exchange` HTTP without I/O; clients are `client` (asyncio) and `blocking` (threads), servers are `server` (one socket in
any loop) and `serve` (asyncio, for remote services).
"""
