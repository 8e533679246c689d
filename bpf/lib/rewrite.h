/* One end of a packet becomes another: its address, and its port or what stands for one; all checksums are updated (RFC 1624), so that
 * what was damaged stays so. lib/quote.h does the same for the packet that an ICMP error quotes.
 *
 * Addresses are 16 bytes, of IPv4 the last four (lib/addr.h); ports are in network order. An echo of ICMP has one identifier, which is the
 * port of either end. Protocols without ports here (all but TCP, UDP and ICMP) get another address and no more: none of those that
 * NATs meet covers addresses by its checksum (GRE, ESP, SCTP), and SCTP's CRC over its ports cannot be updated.
 *
 * The headers are shown between data and data_end, the IP header at a known place (pcn_pull). Pointers into the packet are to be made anew.
 */
#include "lib/addr.h"

enum rewrite_end { REWRITE_SOURCE, REWRITE_TARGET };

#define REWRITE_KEEP (~0U)   /* a port that stays as it is */
#define REWRITE_DEEPEST 1023 /* offsets of what is rewritten are below; a power of two less one */

struct rewrite_place {
  u32 l3, l4; /* offsets of the IP header, and of what follows it and its extensions */
  u32 end;    /* at which the IP packet ends, by what its header says */
  u8 family;  /* 4 or 6 */
  u8 proto;   /* of what is at l4 */
  u8 later;   /* a later fragment: what is at l4 is the middle of something */
  u8 zero;
};

/* Where the checksum is that covers the ports, from l4; 0: none is known. */
static __always_inline u32 rewrite_check_at(const struct rewrite_place *at) {
  if (at->proto == IPPROTO_TCP)
    return 16;
  if (at->proto == IPPROTO_UDP)
    return 6;
  return at->proto == (at->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) ? 2 : 0;
}

/* Where the port of an end is, from l4. */
static __always_inline u32 rewrite_port_at(const struct rewrite_place *at, u32 end) {
  if (at->proto == IPPROTO_TCP || at->proto == IPPROTO_UDP)
    return end * 2;
  return 4;
}

static __always_inline u32 rewrite_fold(u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  return (sum & 0xffffffff) + (sum >> 32);
}

/* An offset that any verifier takes for bounded. The compiler knows the bound, and would leave the mask out where it has compared; but
 * what it then takes from the stack is unbounded again to kernels before 6.8. */
static __always_inline u32 rewrite_bounded(u32 offset) {
  asm volatile("" : "+r"(offset));
  return offset & REWRITE_DEEPEST;
}

/* The address in the IP header; gives what that adds to a sum over it. */
static __always_inline bool rewrite_ip(struct CTXTYPE *ctx, const struct rewrite_place *at, u32 end, const u32 *address, u64 *sum) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  void *header = data + rewrite_bounded(at->l3);
  asm volatile("" : "+r"(header));
  if (at->family == 4) {
    struct iphdr *ip = header;
    if ((void *)(ip + 1) > data_end)
      return false;
    u32 *field = end == REWRITE_SOURCE ? &ip->saddr : &ip->daddr;
    *sum = (u64)(u32)~*field + address[3];
    *field = address[3];
    ip->check = pcn_csum_fold(*sum + (u16)~ip->check);
    return true;
  }
  if (header + sizeof(struct ipv6hdr) > data_end)
    return false;
  u32 *field = header + (end == REWRITE_SOURCE ? 8 : 24);
  *sum = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    *sum += (u64)(u32)~field[i] + address[i];
    field[i] = address[i];
  }
  return true;
}

/* The transport's checksum, where the addresses that it covers and the ports changed by so much. Under TC it may be left to a device, and
 * is then the sum of the pseudo header alone: the kernel knows, programs do not. Where a device has summed the whole packet, the kernel
 * takes its sum for changed with the pseudo header, which of IPv6 is not so: its address is in the packet, and the checksum makes up for it. */
static __always_inline bool rewrite_check(struct CTXTYPE *ctx, const struct rewrite_place *at, u64 addresses, u64 ports) {
  u32 offset = at->l4 + rewrite_check_at(at);
  bool covers = at->proto != IPPROTO_ICMP || at->family == 6;
#if PCN_XDP
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  u16 *check = data + rewrite_bounded(offset);
  asm volatile("" : "+r"(check)); /* or what is compared is another register than what is read by */
  if ((void *)(check + 1) > data_end)
    return false;
  if (at->proto == IPPROTO_UDP && !*check)
    return true; /* none was made */
  u16 found = pcn_csum_fold((u64)(u16)~*check + ports + (covers ? addresses : 0));
  *check = at->proto == IPPROTO_UDP && !found ? 0xffff : found;
  return true;
#else
  u32 flags = at->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0, sum = rewrite_fold(addresses);
  if (covers && bpf_l4_csum_replace(ctx, offset, 0, sum, flags | BPF_F_PSEUDO_HDR))
    return false;
  if (covers && at->family == 6)
    bpf_csum_update(ctx, sum);
  return !ports || bpf_l4_csum_replace(ctx, offset, 0, rewrite_fold(ports), flags) == 0;
#endif
}

/* False: it could not be done, and the packet is to be dropped. */
static __always_inline bool rewrite_end(struct CTXTYPE *ctx, const struct rewrite_place *at, u32 end, const u32 *address, u32 port) {
  u64 addresses = 0, ports = 0;
  if (at->l3 > REWRITE_DEEPEST - 64 || at->l4 > REWRITE_DEEPEST - 64 || !rewrite_ip(ctx, at, end, address, &addresses))
    return false;
  if (at->later || !rewrite_check_at(at))
    return true;
  if (port != REWRITE_KEEP) {
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    u16 *field = data + rewrite_bounded(at->l4 + rewrite_port_at(at, end));
    asm volatile("" : "+r"(field));
    if ((void *)(field + 1) > data_end)
      return false;
    if (*field == (u16)port) /* as of most who have their own port outside, too: nothing to write, and no checksum */
      return rewrite_check(ctx, at, addresses, 0);
    ports = (u64)(u16)~*field + (u16)port;
    *field = port;
  }
  return rewrite_check(ctx, at, addresses, ports);
}
