/* The firewall's µCube 7: the first rule that matches an IPv4 packet, where rules ask for sets. */
#include "firewall.h"

#define ASKS_SETS
#define SELF FIREWALL_SETS_IPV4
#include "firewall_ipv4.h"
