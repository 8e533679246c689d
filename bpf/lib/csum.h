/* Internet checksums (RFC 1071) of what a program has in its hands; framework/checksum.h changes those that lie in a packet.
 *
 * `check` and fields are as they are in the packet, in network order. Sums are of 16-bit words in ones' complement, and not folded.
 */
#ifndef PCN_LIB_CSUM_H
#define PCN_LIB_CSUM_H

/* A checksum after one of the fields it covers has changed (RFC 1624, equation 3). */
static __always_inline u16 csum_update(u16 check, u16 old, u16 new) {
  u32 sum = (u16)~check + (u16)~old + new;
  sum = (sum & 0xffff) + (sum >> 16);
  return ~((sum & 0xffff) + (sum >> 16));
}

/* The same where a field has become `less` less, as a TTL does: one addition. */
static __always_inline u16 csum_decrease(u16 check, u16 less) {
  u32 sum = check + less;
  return sum + (sum >= 0xffff);
}

/* What a checksum begins with that covers IPv6 addresses too, source and target side by side (RFC 8200 8.1). */
static __always_inline u64 csum_pseudo6(const void *addresses, u32 size, u8 protocol) {
  u64 rest = (u64)htonl(size) + htonl(protocol);
  return bpf_csum_diff(0, 0, (void *)addresses, 32, (u32)rest + (rest >> 32));
}
#endif
