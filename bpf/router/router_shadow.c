/* The router's µCube 0, of a cube with a network namespace. */
#include "framework/namespace.h"
#include "router.c"
