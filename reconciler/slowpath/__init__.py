"""Slow paths: worker processes that take packets from their cubes' rings, hand them to Python, and send what it says.

    agent (supervisor) ──RPC: cubes and their facts, ticks──▶ worker ◀──ring of each cube── programs
                       ◀─RPC: log lines, notifications──────    └──packets──▶ the cube's hidden veth

A worker imports what is here and a service's Python half, and nothing of the planner: it is one process for each service.
"""
