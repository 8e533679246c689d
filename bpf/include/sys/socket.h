/* <linux/if.h> and those that need it (if_arp.h, icmp.h, if_tunnel.h) ask for the C library's sockets: this is what
 * they use of them. */
#ifndef PCN_SYS_SOCKET_H
#define PCN_SYS_SOCKET_H

#include <uapi/linux/socket.h>

struct sockaddr {
  __kernel_sa_family_t sa_family;
  char sa_data[14];
};

#define AF_INET 2
#define AF_INET6 10

#endif
