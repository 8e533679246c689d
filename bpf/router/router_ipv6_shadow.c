/* The router's µCube 1, of a cube with a network namespace. */
#include "framework/namespace.h"
#include "router_ipv6.c"
