/* The firewall's µCube 2: the first rule that matches an IPv4 packet. */
#include "firewall.h"

#define SELF FIREWALL_IPV4
#include "firewall_ipv4.h"
