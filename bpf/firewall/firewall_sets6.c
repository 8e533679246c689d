/* The firewall's µCube 8: the first rule that matches an IPv6 packet, where rules ask for sets. */
#include "firewall.h"

#define ASKS_SETS
#define SELF FIREWALL_SETS_IPV6
#include "firewall_ipv6.h"
