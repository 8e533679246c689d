/* The host firewall's µCube 7: the first rule that matches a packet, where rules ask for sets. */
#include "iptables.h"

#define ASKS_SETS
#define SELF IPTABLES_IN_SETS
#include "iptables_search.h"
