/* The host firewall's µCube 3: the first rule that matches a packet. */
#include "iptables.h"

#define SELF IPTABLES_RULES
#include "iptables_search.h"
