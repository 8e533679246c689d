/* The firewall's µCube 3: the first rule that matches an IPv6 packet. */
#include "firewall.h"

#define SELF FIREWALL_IPV6
#include "firewall_ipv6.h"
