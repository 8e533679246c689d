/* The router's µCube 3: a packet whose next hop's MAC address is not known.
 *
 * While an agent looks after the cube the packet goes there and waits. Without one it is lost, but it becomes the question:
 * an ARP request, or a neighbour solicitation, and the next packet passes. One question a second for each neighbour.
 *
 * What lib/craft.h keeps of the packet lies behind the ARP request, where nobody looks, or in an option of the
 * solicitation that hosts step over.
 */
#include "router.h"
#include "lib/craft.h"

#define BURST (8 * NS)    /* a source's 250 questions, or 4,000 packets that wait */
#define QUESTION (32 * MS) /* of a source's time: 31 a second, of a port's 125, of the router's 500 */
#define PACKET (2 * MS)    /* that is handed up while its question is open */
#define ND_SOLICIT 135
#define OPTION_SOURCE 1
#define OPTION_UNKNOWN 253 /* for experiments (RFC 4727); RFC 4861: hosts "MUST silently ignore" what they do not know */

struct question4 {
  struct ethhdr eth;
  u16 hardware, protocol;
  u8 hardware_size, protocol_size;
  u16 operation;
  u8 sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
} __attribute__((packed));
struct solicitation {
  u8 type, code;
  u16 check;
  u32 zero;
  u8 target[16];
  u8 source_option[2], mac[6];
#if !PCN_XDP
  u8 unknown_option[2], padding[6];
#endif
};
struct question6 {
  struct ethhdr eth;
  struct ipv6hdr ip;
  struct solicitation nd;
} __attribute__((packed));

static __always_inline bool agent_lives(void) {
  u32 zero = 0, *said = agent.lookup(&zero);
  return said && *said && (s32)(now_seconds() - *said) <= AGENT_SILENCE;
}

/* Whether the packet may wait, or become a question. `waits`: the agent asks by itself; the row tells the answer that somebody
 * waits for it. A question is asked once a second, and who asks for many at once is refused before others are. */
static __always_inline int note_question(struct neighbour_key *key, struct neighbour_key *source, bool waits) {
  struct question *before = questions.lookup(key);
  u64 now = bpf_ktime_get_ns();
  bool open = before && now - before->asked < NS;
  if (open && !waits)
    return DROP_UNRESOLVED;
  if (!may_spend(source, LIMIT_RESOLVE, open ? PACKET : QUESTION, BURST))
    return DROP_LIMITED;
  struct question row = {.asked = open ? before->asked : now, .waiting = waits};
  questions.update(key, &row);
  return 0;
}

/* Who sent the packet, as it says. */
static __always_inline bool read_source(struct CTXTYPE *ctx, u32 family, struct neighbour_key *source) {
  u32 ipv4;
  if (family == 6)
    return !pcn_load_bytes(ctx, sizeof(struct ethhdr) + offsetof(struct ipv6hdr, saddr), source->address, 16);
  if (pcn_load_bytes(ctx, sizeof(struct ethhdr) + offsetof(struct iphdr, saddr), &ipv4, 4))
    return false;
  v4_mapped(source->address, ipv4);
  return true;
}

/* The packet has become the question, and goes nowhere itself: lost like those that are refused, and counted with them. */
static __always_inline int sent_for(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 port) {
  pcn_count_drop(DROP_UNRESOLVED);
  return pcn_pkt_redirect(ctx, md, port);
}

/* Own addresses are on the subnets that neighbours are on: the question is asked from the one beside the neighbour. */
static __always_inline int ask4(struct CTXTYPE *ctx, struct pkt_metadata *md, struct neighbour_key *key, struct router_port *out) {
  struct prefix4 address;
  struct question4 question = {.hardware = htons(1), .protocol = htons(ETH_P_IP), .hardware_size = 6, .protocol_size = 4};
  lpm_host4(&address, key->address + 12);
  struct route *beside = fib4.lookup(&address);
  if (!beside || beside->kind != ROUTE_CONNECTED)
    return refuse(md, DROP_UNRESOLVED);
  question.operation = htons(1);
  __builtin_memcpy(question.sender_ip, beside->via + 12, 4);
  __builtin_memcpy(question.target_ip, address.address, 4);
  __builtin_memcpy(question.sender_mac, out->mac, 6);
  __builtin_memset(question.eth.h_dest, 0xff, 6);
  __builtin_memcpy(question.eth.h_source, out->mac, 6);
  question.eth.h_proto = htons(ETH_P_ARP);
  if (reshape(ctx, md, sizeof(question)) < 0 || pcn_store_bytes(ctx, 0, &question, sizeof(question)))
    return refuse(md, DROP_UNRESOLVED);
  return sent_for(ctx, md, key->port);
}

/* Asked through the group that only stations with such an address listen to, ff02::1:ffXX:XXXX. */
static __always_inline int ask6(struct CTXTYPE *ctx, struct pkt_metadata *md, struct neighbour_key *key, struct router_port *out) {
  struct question6 question = {.eth.h_proto = htons(ETH_P_IPV6)};
  struct solicitation nd = {.type = ND_SOLICIT, .source_option = {OPTION_SOURCE, 1}};
  struct pseudo6 pseudo = {.target = {0xff, 0x02, [11] = 1, [12] = 0xff}, .protocol = htonl(IPPROTO_ICMPV6)};
  int kept = reshape(ctx, md, sizeof(question));
  if (kept < 0)
    return refuse(md, DROP_UNRESOLVED);
#if !PCN_XDP
  nd.unknown_option[0] = OPTION_UNKNOWN;
  nd.unknown_option[1] = (8 + kept) / 8;
#endif
  pseudo.length = htonl(sizeof(nd) + kept);
  __builtin_memcpy(nd.target, key->address, 16);
  __builtin_memcpy(nd.mac, out->mac, 6);
  __builtin_memcpy(pseudo.source, out->link_local, 16);
  __builtin_memcpy(pseudo.target + 13, key->address + 13, 3);
  u64 sum = bpf_csum_diff(0, 0, (void *)&pseudo, sizeof(pseudo), 0);
  nd.check = pcn_csum_fold(bpf_csum_diff(0, 0, (void *)&nd, sizeof(nd), sum));
  question.nd = nd;
  question.eth.h_dest[0] = question.eth.h_dest[1] = 0x33;
  __builtin_memcpy(question.eth.h_dest + 2, pseudo.target + 12, 4);
  __builtin_memcpy(question.eth.h_source, out->mac, 6);
  question.ip.version = 6;
  question.ip.payload_len = htons(sizeof(nd) + kept);
  question.ip.nexthdr = IPPROTO_ICMPV6;
  question.ip.hop_limit = 255;
  __builtin_memcpy(&question.ip.saddr, pseudo.source, 32);
  if (pcn_store_bytes(ctx, 0, &question, sizeof(question)))
    return refuse(md, DROP_UNRESOLVED);
  return sent_for(ctx, md, key->port);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 zero = 0;
  struct handover *handover = handovers.lookup(&zero);
  if (!handover)
    return refuse(md, PCN_DROP_NO_PEER);
  struct neighbour_key key = {.port = handover->port}, source = {.port = md->in_port};
  __builtin_memcpy(key.address, handover->next, 16);
  bool waits = agent_lives();
  if (!read_source(ctx, handover->family, &source))
    return refuse(md, PCN_DROP_MALFORMED);
  int refused = note_question(&key, &source, waits);
  if (refused)
    return refuse(md, refused);
  if (waits)
    return pcn_pkt_controller(ctx, md, SLOW_MISS);
  struct router_port *out = port_of(key.port);
  if (!out)
    return refuse(md, PCN_DROP_NO_PEER);
  if (PCN_CONST(IPV4) && handover->family == 4)
    return ask4(ctx, md, &key, out);
  if (PCN_CONST(IPV6) && handover->family == 6)
    return ask6(ctx, md, &key, out);
  return refuse(md, DROP_UNRESOLVED);
}
