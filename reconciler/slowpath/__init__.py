"""Slow paths: worker processes that take packets from their cubes' rings, pass them to Python, and send its packets.

    agent (supervisor) ──RPC: cubes and their facts, ticks──▶ worker ◀──ring of each cube── programs
                       ◀─RPC: log lines, notifications──────    └──packets──▶ the cube's hidden veth

A worker imports this package and a service's Python half, and nothing of the planner: one process for each service.
"""
