/* ARP for IPv4 over Ethernet (RFC 826): what one says, the reply to a request, and a request.
 *
 *     is_arp(arp)                     whether it is a request or a reply of this kind, from a single station
 *     arp_reply(eth, arp, mac)        a request becomes, in its place, the reply of the station that has this MAC
 *     struct arp_frame f;
 *     arp_request(&f, mac, own, asked) who has `asked`? Tell `own`, at `mac`. `own` 0.0.0.0: a probe (RFC 5227)
 *
 * Who is learned from what is heard, and whether an address is one's own, is the caller's. The frame is untagged.
 */
#ifndef PCN_LIB_ARP_H
#define PCN_LIB_ARP_H
#include "lib/addr.h"

#define ARP_FRAME 42 /* bytes: Ethernet, ARP */
#define ARP_REQUEST 1
#define ARP_REPLY 2

struct arp {
  u16 hardware, protocol;
  u8 hardware_size, protocol_size;
  u16 operation;
  u8 sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
} __attribute__((packed));
struct arp_frame {
  struct ethhdr eth;
  struct arp arp;
} __attribute__((packed));

static __always_inline bool is_arp(const struct arp *arp) {
  return arp->hardware == htons(1) && arp->protocol == htons(ETH_P_IP) && arp->hardware_size == 6 && arp->protocol_size == 4 &&
         is_station(arp->sender_mac) && (arp->operation == htons(ARP_REQUEST) || arp->operation == htons(ARP_REPLY));
}

static __always_inline void arp_reply(struct ethhdr *eth, struct arp *arp, const u8 *mac) {
  u8 asked[4];
  __builtin_memcpy(asked, arp->target_ip, 4);
  arp->operation = htons(ARP_REPLY);
  __builtin_memcpy(arp->target_mac, arp->sender_mac, 6);
  __builtin_memcpy(arp->target_ip, arp->sender_ip, 4);
  __builtin_memcpy(arp->sender_mac, mac, 6);
  __builtin_memcpy(arp->sender_ip, asked, 4);
  __builtin_memcpy(eth->h_dest, arp->target_mac, 6); /* the answer goes to who says that it asks */
  __builtin_memcpy(eth->h_source, mac, 6);
}

static __always_inline void arp_request(struct arp_frame *frame, const u8 *mac, const void *own, const void *asked) {
  frame->eth.h_proto = htons(ETH_P_ARP);
  __builtin_memset(frame->eth.h_dest, 0xff, 6);
  __builtin_memcpy(frame->eth.h_source, mac, 6);
  frame->arp.hardware = htons(1);
  frame->arp.protocol = htons(ETH_P_IP);
  frame->arp.hardware_size = 6;
  frame->arp.protocol_size = 4;
  frame->arp.operation = htons(ARP_REQUEST);
  __builtin_memcpy(frame->arp.sender_mac, mac, 6);
  __builtin_memcpy(frame->arp.sender_ip, own, 4);
  __builtin_memset(frame->arp.target_mac, 0, 6);
  __builtin_memcpy(frame->arp.target_ip, asked, 4);
}
#endif
