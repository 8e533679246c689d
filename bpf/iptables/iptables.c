/* The host's own firewall: µCube 0, where every frame arrives, at each netdev and in both directions.
 *
 * A packet meets the rules where the kernel's iptables would see it, and so once, however many netdevs it passes: INPUT at the netdev
 * by which it comes up to the host's IP, OUTPUT and FORWARD at the one by which IP sends it. What passes without them: what is no IP; a
 * tagged frame, which comes up at the netdev of its VLAN, or met the rules there; frames at a netdev that is part of a bridge, a bond or
 * a team; frames for another station; what is sent by packet sockets; and IPv6, unless the cube is asked to look at it.
 *
 * What is for this host: its addresses are in `local`, and of all others the kernel's routing table says whether it would forward them.
 * What it would not, meets INPUT. Later fragments have the ports of their first one, if that came before them.
 *
 * Under XDP what is for this host meets INPUT as it arrives. What is forwarded meets FORWARD at once if XDP sends it (iptables_forward.h),
 * else with OUTPUT's in the cube's TC twin. What another cube's port sends by XDP meets no rule.
 */
#include "iptables.h"
#include "lib/fragments.h"
#include "lib/own_answer.h"

#define PACKET_FAMILY 17 /* AF_PACKET */
#define FOR_ANOTHER 3   /* PACKET_OTHERHOST */
#define VLAN_ID 0xfff

#if PCN_XDP
/* Whether it is a frame that the host's IP does not see here: another station's, or one at a part of a bridge or the like. Tags are in the
 * packet. Of a netdev of which nothing is known yet, all frames are its own. */
static __always_inline bool is_below_ip(struct CTXTYPE *ctx) {
  u32 device = ctx->ingress_ifindex;
  u8 target[ETH_ALEN] __attribute__((aligned(2)));
  struct station *own = stations.lookup(&device);
  if (own && pcn_load_bytes(ctx, 0, target, sizeof(target)) == 0 && !(target[0] & 1) && !is_same_station(target, own->mac))
    return true;
  return enslaved.lookup(&device) != NULL;
}

static __always_inline u16 protocol_of(struct CTXTYPE *ctx) {
  struct ethhdr *eth = (void *)(long)ctx->data;
  return (void *)(eth + 1) > (void *)(long)ctx->data_end ? 0 : eth->h_proto;
}
#else
/* Whether it is a frame that the host's IP does not see here. */
static __always_inline bool is_below_ip(struct CTXTYPE *ctx) {
  u32 device = ctx->ifindex;
  if (ctx->vlan_present && ctx->vlan_tci & VLAN_ID)
    return true;
#if PCN_EGRESS
  struct bpf_sock *sender = ctx->sk;
  if (sender) {
    sender = bpf_sk_fullsock(sender);
    if (sender && sender->family == PACKET_FAMILY)
      return true;
  }
#else
  if (ctx->pkt_type == FOR_ANOTHER)
    return true;
#endif
  return enslaved.lookup(&device) != NULL;
}

static __always_inline u16 protocol_of(struct CTXTYPE *ctx) { return ctx->protocol; }
#endif

/* Whether a tag in the packet is a VLAN's. Tags of VLAN 0 have a priority alone, and the kernel takes them off, however many; here more
 * than lib/parse.h steps over are MALFORMED. Loop bound: TAGS. */
static __always_inline bool is_of_vlan(struct CTXTYPE *ctx, const struct packet *packet) {
  u32 inside = packet->tags - tags_beside(ctx);
  u16 tag;
#pragma unroll
  for (u32 n = 0; n < TAGS; n++)
    if (n < inside && (pcn_load_bytes(ctx, sizeof(struct ethhdr) + 4 * n, &tag, 2) < 0 || ntohs(tag) & VLAN_ID))
      return true;
  return false;
}

/* The chain that asks about a packet here; CHAINS: none does. */
static __always_inline u32 chain_of(struct CTXTYPE *ctx, const struct pkt_metadata *md, struct packet *packet) {
#if PCN_EGRESS
#if PCN_XDP
  return CHAINS;
#else
  return ctx->ingress_ifindex ? FORWARD : OUTPUT;
#endif
#else
  struct wide target;
  struct bpf_fib_lookup way = {};
  __builtin_memcpy(target.address, packet->dst, 16);
  if (netdev_of(ctx) == LOOPBACK || local.lookup(&target))
    return INPUT;
  long found = find_way(ctx, packet, &way);
  if (!is_forwarded(found))
    return INPUT;
#if PCN_XDP
  if (found == BPF_FIB_LKUP_RET_SUCCESS && take_way(ctx, md, packet, &way))
    return FORWARD;
#endif
  return CHAINS;
#endif
}

/* Everything that the rule set says is taken down now, so that all µCubes speak of one version. */
static __always_inline bool open_version(struct packet *packet) {
  u32 zero = 0, chain = packet->chain;
  u32 *now = epoch.lookup(&zero);
  if (!now || chain >= CHAINS)
    return false;
  packet->epoch = *now;
  u32 bank = packet->epoch & 1;
  struct version *version = versions.lookup(&bank);
  if (!version)
    return false;
  packet->mode = version->mode;
  packet->sets = version->sets >> (chain * 8) & 0xff;
  packet->default_action = version->chains[chain].action;
  packet->tuples = version->chains[chain].tuples;
  packet->page = (chain * 2 + bank) * BANK_PAGES;
  return true;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  if (take_own_answer(ctx) || is_below_ip(ctx) || (protocol_of(ctx) == htons(ETH_P_IPV6) && !PCN_CONST(IPV6)))
    return RX_OK;
  int found = parse_packet(ctx, &packet->parsed, md->packet_len);
  if (found == NOT_IP || found == HIDDEN_IP || (found == IS_IP && is_of_vlan(ctx, packet)))
    return RX_OK;
  md->reason = PCN_DROP_MALFORMED;
  if (found == MALFORMED)
    return RX_DROP;
  packet->out = 0;
  packet->chain = chain_of(ctx, md, packet);
  if (packet->chain == CHAINS)
    return RX_OK;
  if (!open_version(packet))
    return RX_DROP;
  if (netdev_of(ctx) == LOOPBACK) /* open, unless a rule says otherwise */
    packet->default_action = ACTION_ACCEPT;
#if PCN_EGRESS && !PCN_XDP
  packet->in = ctx->ingress_ifindex;
  packet->out = ctx->ifindex;
#else
  packet->in = netdev_of(ctx);
#endif
  packet->length = md->packet_len;
  packet->state = packet->settled = packet->settles = packet->was = packet->sender = packet->news = 0;
  packet->next.state = CONNECTION_NONE;
  packet->at = packet->seat = packet->passes = 0;
  packet->after = 0;
  packet->undecided.some = 0;
  packet->best = NO_LABEL;
  packet->talk = packet->ports;
  if (packet->has_ports && is_icmp(&packet->parsed))
    packet->talk = icmp_ports(packet->icmp_type, packet->family, packet->icmp_id);
  if (packet->fragment)
    remember_fragment(packet);
  if (packet->mode & MODE_TRACK)
    return tail_call_next(ctx, IPTABLES_TRACK);
  return classify(ctx, md, packet);
}
