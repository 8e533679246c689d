/* The firewall's µCube 5: answers a packet that is rejected, and sends the answer back the way it came.
 *
 * TCP is answered with a reset, made of the packet where it stands; all else with ICMP's or ICMPv6's "port unreachable" in
 * the name of the packet's destination. No answer, but the packet is dropped all the same: to errors, to what is no single
 * station's, to later fragments, to tagged packets under XDP that are not TCP, and beyond ANSWERS_A_SECOND.
 */
#include "firewall.h"
#include "lib/addr.h"
#include "lib/craft.h"
#include "lib/ratelimit.h"

#define QUOTED 128 /* bytes of the packet that are sent back */
#define ANSWERS_A_SECOND 1000 /* on each CPU */
#define HOPS_LEFT 64
#define PORT_UNREACHABLE4 3
#define PORT_UNREACHABLE6 4

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

BPF_TABLE("percpu_array", u32, struct ratelimit, answered, 1);

struct segment { /* a TCP header up to its checksum */
  u16 sport, dport;
  u32 seq, ack;
  u8 offset, flags;
  u16 window, check;
} __attribute__((packed));
struct icmp {
  u8 type, code;
  u16 check;
  u32 unused;
};
struct head4 {
  struct ethhdr eth;
  struct iphdr ip;
  struct icmp icmp;
} __attribute__((packed));
struct head6 {
  struct ethhdr eth;
  struct ipv6hdr ip;
  struct icmp icmp;
} __attribute__((packed));
struct quote {
  u8 macs[12];
  u32 size;
  u32 words[QUOTED / 4];
};

static __always_inline bool may_answer(void) {
  u32 zero = 0;
  struct ratelimit *limit = answered.lookup(&zero);
  return limit && ratelimit_take(limit, ANSWERS_A_SECOND);
}

static __always_inline bool has_one_sender(const struct packet *packet) {
  if (packet->family == 4)
    return is_host4(packet->src[3]);
  return *(u8 *)packet->src != 0xff && !is_unspecified(packet->src);
}

/* Outwards in INGRESS, inwards in EGRESS; where that leads to no cube, to the netdev that the firewall is on. */
static __always_inline int send_back(struct CTXTYPE *ctx) {
  u32 row = PCN_EGRESS ? 1 : 0;
  struct pcn_hop *hop = pcn_hops.lookup(&row);
  if (hop && (hop->kind == PCN_HOP_PROGRAM || hop->kind == PCN_HOP_NETDEV))
    return pcn_leave(ctx, row);
#if PCN_XDP
  return bpf_redirect(ctx->ingress_ifindex, 0); /* XDP_TX would want a program at the other end of a veth */
#else
  ctx->tc_index = OWN_ANSWER;
  return bpf_redirect(ctx->ifindex, PCN_EGRESS ? BPF_F_INGRESS : 0);
#endif
}

static __always_inline void swap_macs(struct CTXTYPE *ctx) {
  u8 macs[12], swapped[12];
  if (pcn_load_bytes(ctx, 0, macs, 12) < 0)
    return;
  __builtin_memcpy(swapped, macs + 6, 6);
  __builtin_memcpy(swapped + 6, macs, 6);
  pcn_store_bytes(ctx, 0, swapped, 12);
}

/* Both addresses change places, which no checksum notices; `at` is where the source is. */
static __always_inline void swap_addresses(struct CTXTYPE *ctx, const struct packet *packet) {
  u32 swapped[8];
  if (packet->family == 4) {
    swapped[0] = packet->dst[3];
    swapped[1] = packet->src[3];
    pcn_store_bytes(ctx, packet->l3 + offsetof(struct iphdr, saddr), swapped, 8);
  } else {
    __builtin_memcpy(swapped, packet->dst, 16);
    __builtin_memcpy(swapped + 4, packet->src, 16);
    pcn_store_bytes(ctx, packet->l3 + offsetof(struct ipv6hdr, saddr), swapped, 32);
  }
}

/* RFC 9293 3.5.2. What the segment carried stays behind the reset, which nobody reads. */
static __always_inline bool make_reset(struct CTXTYPE *ctx, const struct packet *packet) {
  u32 at = packet->l4, check = at + offsetof(struct segment, check);
  struct segment old, new;
  if (packet->flags & RST || pcn_load_bytes(ctx, at, &old, sizeof(old)) < 0)
    return false;
  new = old;
  new.sport = old.dport;
  new.dport = old.sport;
  u32 carried = packet->payload_end - at - (old.offset >> 4) * 4;
  if (old.flags & ACK) {
    new.seq = old.ack;
    new.ack = 0;
    new.flags = RST;
  } else {
    new.seq = 0;
    new.ack = htonl(ntohl(old.seq) + carried + !!(old.flags & SYN) + !!(old.flags & FIN));
    new.flags = RST | ACK;
  }
  if (pcn_store_bytes(ctx, at, &new, offsetof(struct segment, window)) < 0)
    return false;
  pcn_l4_csum_replace(ctx, check, old.seq, new.seq, 4);
  pcn_l4_csum_replace(ctx, check, old.ack, new.ack, 4);
  pcn_l4_csum_replace(ctx, check, htons(old.offset << 8 | old.flags), htons(new.offset << 8 | new.flags), 2);
  swap_addresses(ctx, packet);
  swap_macs(ctx);
  return true;
}

static __always_inline bool read_quote(struct CTXTYPE *ctx, struct pkt_metadata *md, struct quote *quote) {
  u64 size = md->packet_len - sizeof(struct ethhdr);
  size = size < QUOTED ? size : QUOTED;
  quote->size = size;
  return pcn_bound(&size, QUOTED) && !pcn_load_bytes(ctx, sizeof(struct ethhdr), quote->words, size) &&
         !pcn_load_bytes(ctx, 0, quote->macs, 12);
}

static __always_inline bool write_error(struct CTXTYPE *ctx, void *head, u32 size, struct quote *quote) {
  u64 quoted = quote->size;
  return pcn_bound(&quoted, QUOTED) && !pcn_store_bytes(ctx, size, quote->words, quoted) && !pcn_store_bytes(ctx, 0, head, size);
}

static __always_inline u16 icmp_check(struct icmp *icmp, struct quote *quote, u64 sum) {
  sum = bpf_csum_diff(0, 0, (void *)icmp, sizeof(*icmp), sum);
  return pcn_csum_fold(bpf_csum_diff(0, 0, (void *)quote->words, QUOTED, sum));
}

static __always_inline void turn(struct ethhdr *eth, const struct quote *quote, u16 proto) {
  eth->h_proto = htons(proto);
  __builtin_memcpy(eth->h_dest, quote->macs + 6, 6);
  __builtin_memcpy(eth->h_source, quote->macs, 6);
}

static __always_inline bool make_error4(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct packet *packet) {
  struct quote quote = {};
  struct head4 head = {};
  struct iphdr ip = {.version = 4, .ihl = 5, .tos = 0xc0, .ttl = HOPS_LEFT, .protocol = IPPROTO_ICMP};
  struct icmp icmp = {.type = 3, .code = PORT_UNREACHABLE4};
  int kept = read_quote(ctx, md, &quote) ? reshape(ctx, md, sizeof(head) + quote.size) : -1;
  if (kept < 0)
    return false;
  ip.tot_len = htons(sizeof(ip) + sizeof(icmp) + quote.size + kept);
  ip.saddr = packet->dst[3];
  ip.daddr = packet->src[3];
  ip.check = pcn_csum_fold(bpf_csum_diff(0, 0, (void *)&ip, sizeof(ip), 0));
  icmp.check = icmp_check(&icmp, &quote, 0);
  turn(&head.eth, &quote, ETH_P_IP);
  head.ip = ip;
  head.icmp = icmp;
  return write_error(ctx, &head, sizeof(head), &quote);
}

static __always_inline bool make_error6(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct packet *packet) {
  struct quote quote = {};
  struct head6 head = {};
  struct pseudo6 pseudo = {.protocol = htonl(58)};
  struct icmp icmp = {.type = 1, .code = PORT_UNREACHABLE6};
  int kept = read_quote(ctx, md, &quote) ? reshape(ctx, md, sizeof(head) + quote.size) : -1;
  if (kept < 0)
    return false;
  u32 size = sizeof(icmp) + quote.size + kept;
  __builtin_memcpy(pseudo.source, packet->dst, 16);
  __builtin_memcpy(pseudo.target, packet->src, 16);
  pseudo.length = htonl(size);
  icmp.check = icmp_check(&icmp, &quote, bpf_csum_diff(0, 0, (void *)&pseudo, sizeof(pseudo), 0));
  turn(&head.eth, &quote, ETH_P_IPV6);
  head.icmp = icmp;
  head.ip.version = 6;
  head.ip.payload_len = htons(size);
  head.ip.nexthdr = 58;
  head.ip.hop_limit = HOPS_LEFT;
  __builtin_memcpy(&head.ip.saddr, pseudo.source, 32);
  return write_error(ctx, &head, sizeof(head), &quote);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  u8 target = MULTICAST;
  md->reason = PCN_DROP_POLICY;
  if (!packet)
    return RX_DROP;
  pcn_count_drop(PCN_DROP_POLICY); /* the packet itself; an answer goes in its place */
  pcn_load_bytes(ctx, 0, &target, 1);
  if (target & MULTICAST || packet->later_fragment || !has_one_sender(packet) || !may_answer())
    return PCN_SHOT;
  bool made = false;
  if (packet->proto == IPPROTO_TCP)
    made = make_reset(ctx, packet);
  else if (packet->l3 != sizeof(struct ethhdr) || (packet->icmp_type && is_error(packet)))
    made = false;
  else if (packet->family == 4)
    made = make_error4(ctx, md, packet);
  else
    made = make_error6(ctx, md, packet);
  return made ? send_back(ctx) : PCN_SHOT;
}
