/* Addresses: of IP 16 bytes in network order, so that both families share a table, where IPv4 is ::ffff:a.b.c.d (RFC 4291 2.5.5.2);
 * of Ethernet 6 bytes. IP addresses lie at multiples of 4 bytes.
 */
#ifndef PCN_LIB_ADDR_H
#define PCN_LIB_ADDR_H
#define MULTICAST 1 /* the group bit of a MAC's first byte */

static __always_inline void v4_mapped(void *address, u32 ipv4) {
  u32 *words = address;
  words[0] = words[1] = 0;
  words[2] = htonl(0xffff);
  words[3] = ipv4;
}

static __always_inline bool same_address(const void *a, const void *b) {
  const u32 *x = a, *y = b;
  return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]));
}

static __always_inline bool is_unspecified(const void *address) {
  const u32 *words = address;
  return !(words[0] | words[1] | words[2] | words[3]);
}

static __always_inline bool is_link_local(const u8 *address) { return address[0] == 0xfe && (address[1] & 0xc0) == 0x80; }

/* ::, ::1, and IPv4 in IPv6's clothes, ::ffff:0:0/96: no packet has them on a wire (RFC 4291 2.5.2, 2.5.3; RFC 6890). */
static __always_inline bool is_nobody(const void *address) {
  const u32 *words = address;
  return !(words[0] | words[1]) && (words[2] == htonl(0xffff) || (!words[2] && ntohl(words[3]) <= 1));
}

/* Whether an IPv4 address, in network order, can be a single host's: it is none of 0/8, 127/8, multicast, or 240/4 and broadcast. */
static __always_inline bool is_host4(u32 address) {
  u32 bits = ntohl(address);
  return bits >> 24 && bits >> 24 != 127 && bits >> 28 < 14;
}

/* Networks: their first address, and the bits behind their prefix. */
static __always_inline bool is_in(const u32 *address, const u32 *network, const u32 *mask) {
  return !(((address[0] ^ network[0]) & ~mask[0]) | ((address[1] ^ network[1]) & ~mask[1]) | ((address[2] ^ network[2]) & ~mask[2]) |
           ((address[3] ^ network[3]) & ~mask[3]));
}

/* The address becomes one of another network, with the same bits behind the prefix. */
static __always_inline void moved_to(u32 *address, const u32 *network, const u32 *mask) {
#pragma unroll
  for (int i = 0; i < 4; i++)
    address[i] = (address[i] & mask[i]) | network[i];
}

static __always_inline bool same_mac(const u8 *a, const u8 *b) {
  return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) | (a[5] ^ b[5]));
}

/* Whether a MAC can be a single station's: no group's, and not all zeros. */
static __always_inline bool is_station(const u8 *mac) {
  return !(mac[0] & MULTICAST) && (mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}
#endif
