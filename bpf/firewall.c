/* A firewall for IPv4 and IPv6: µCube 0, where every frame arrives and its headers are read.
 *
 * What is no IP passes: ARP, and other protocols of the link. Up to two VLAN tags are stepped over; IP behind more is
 * dropped, as is what is cut short or says of itself what cannot be. Later fragments have the ports (of ICMP, the type and code) of
 * their first one, if that came before them, and else none.
 */
#include "firewall.h"

#define TAGS 2
#define EXTENSIONS 8 /* headers between IPv6 and what it carries */
#define FRAGMENT_TIME (30 * 1000000000ULL)
#define IPPROTO_ICMP6 58
#define IPPROTO_MH 135

struct fragment_key {
  u32 src[4], dst[4];
  u32 id;
  u32 proto;
};
struct fragment {
  u64 seen;
  u32 talk, ports;
};
BPF_TABLE("lru_hash", struct fragment_key, struct fragment, fragments, 8192);

enum { NOT_IP, IS_IP, MALFORMED };

struct piece {
  u32 fragment; /* 1: this is not all of a packet */
  u32 id;       /* the whole packet's number then */
};

/* Tags that are beside the packet and not in it: under TC the outermost one of what came over a wire. */
static __always_inline u32 tags_beside(struct CTXTYPE *ctx) {
#if PCN_XDP
  return 0;
#else
  return ctx->vlan_present;
#endif
}

/* Under TC the start of a packet need not lie in one piece. */
static __always_inline void pull(struct CTXTYPE *ctx) {
#if !PCN_XDP
  u32 wanted = ctx->len < 94 ? ctx->len : 94; /* Ethernet, two tags, IPv6 or IPv4 with all its options */
  if ((void *)(long)ctx->data + wanted > (void *)(long)ctx->data_end)
    bpf_skb_pull_data(ctx, wanted);
#endif
}

/* What the packet carries: ports, flags, an ICMP message. */
static __always_inline int read_payload(struct CTXTYPE *ctx, struct packet *packet, const struct piece *piece) {
  u8 proto = packet->proto;
  bool has_ports = proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
  bool is_icmp = proto == (packet->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMP6);
  struct fragment_key key = {};
  if (piece->fragment) {
    __builtin_memcpy(key.src, packet->src, 32);
    key.id = piece->id;
    key.proto = proto;
  }
  if (packet->later_fragment) {
    struct fragment *first = fragments.lookup(&key);
    if (first && bpf_ktime_get_coarse_ns() - first->seen < FRAGMENT_TIME) {
      packet->talk = first->talk;
      packet->ports = first->ports;
      packet->has_ports = 1;
    }
    return IS_IP;
  }
  if (has_ports) {
    u16 ports[2];
    void *at = (void *)(long)ctx->data + (packet->l4 & 1023);
    if (packet->l4 < 1024 && at + 4 <= (void *)(long)ctx->data_end)
      __builtin_memcpy(ports, at, 4);
    else if (pcn_load_bytes(ctx, packet->l4, ports, 4) < 0)
      return MALFORMED;
    packet->ports = packet->talk = (u32)ntohs(ports[0]) << 16 | ntohs(ports[1]);
    packet->has_ports = 1;
  }
  if (proto == IPPROTO_TCP) {
    if (pcn_load_bytes(ctx, packet->l4 + 13, &packet->flags, 1) < 0)
      return MALFORMED;
    packet->has_flags = 1;
  }
  if (is_icmp) {
    u8 icmp[8];
    if (pcn_load_bytes(ctx, packet->l4, icmp, 8) < 0)
      return MALFORMED;
    packet->icmp_type = icmp[0];
    packet->ports = (u32)icmp[0] << 16 | icmp[1]; /* searched as ports are */
    packet->has_ports = 1;
    packet->talk = echo_talk(icmp[0], packet->family, icmp[4] << 8 | icmp[5]);
  }
  if (piece->fragment && packet->has_ports) {
    struct fragment first = {bpf_ktime_get_coarse_ns(), packet->talk, packet->ports};
    fragments.update(&key, &first);
  }
  return IS_IP;
}

static __always_inline int read_ipv4(struct packet *packet, void *at, void *data, void *data_end, struct piece *piece) {
  struct iphdr *ip = at;
  if ((void *)(ip + 1) > data_end || ip->ihl < 5 || ip->version != 4 || ntohs(ip->tot_len) < ip->ihl * 4)
    return MALFORMED;
  packet->family = 4;
  packet->src[0] = packet->src[1] = packet->dst[0] = packet->dst[1] = 0;
  packet->src[2] = packet->dst[2] = htonl(0xffff);
  packet->src[3] = ip->saddr;
  packet->dst[3] = ip->daddr;
  packet->proto = ip->protocol;
  packet->l3 = at - data;
  packet->l4 = packet->l3 + ip->ihl * 4;
  packet->payload_end = packet->l3 + ntohs(ip->tot_len);
  u16 place = ntohs(ip->frag_off);
  packet->later_fragment = (place & 0x1fff) != 0;
  if ((place & 0x1fff) == 1 && ip->protocol == IPPROTO_TCP)
    return MALFORMED; /* RFC 1858: it would overwrite the flags */
  piece->fragment = (place & 0x3fff) != 0;
  piece->id = ip->id;
  return IS_IP;
}

static __always_inline int read_ipv6(struct CTXTYPE *ctx, struct packet *packet, void *at, void *data, void *data_end,
                                     struct piece *piece) {
  struct ipv6hdr *ip = at;
  if ((void *)(ip + 1) > data_end || ip->version != 6)
    return MALFORMED;
  packet->family = 6;
  packet->l3 = at - data;
  packet->payload_end = packet->l3 + sizeof(*ip) + ntohs(ip->payload_len);
  __builtin_memcpy(packet->src, &ip->saddr, 16);
  __builtin_memcpy(packet->dst, &ip->daddr, 16);
  u32 offset = at - data + sizeof(*ip);
  u8 next = ip->nexthdr;
  bool found = false;
  for (int i = 0; i < EXTENSIONS; i++) {
    u8 head[8];
    if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_MH &&
        next != IPPROTO_FRAGMENT) {
      found = true;
      break;
    }
    if (pcn_load_bytes(ctx, offset, head, 8) < 0)
      return MALFORMED;
    if (next == IPPROTO_FRAGMENT) {
      piece->fragment = 1;
      packet->later_fragment = (head[2] | (head[3] & 0xf8)) != 0;
      __builtin_memcpy(&piece->id, head + 4, 4);
      offset += 8;
    } else {
      offset += 8 + head[1] * 8;
    }
    next = head[0];
    if (packet->later_fragment) { /* what follows is the middle of something */
      found = true;
      break;
    }
  }
  if (!found)
    return MALFORMED;
  packet->proto = next;
  packet->l4 = offset;
  return IS_IP;
}

static __always_inline int read_packet(struct CTXTYPE *ctx, struct packet *packet) {
  pull(ctx);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  void *at = eth + 1;
  if (at > data_end)
    return MALFORMED;
  u16 proto = eth->h_proto;
  u32 beside = tags_beside(ctx);
#pragma unroll
  for (int tags = 0; tags < TAGS; tags++) {
    struct {
      u16 tci, proto;
    } *tag = at;
    if (!pcn_is_tag(proto) || tags + beside >= TAGS)
      break;
    at = tag + 1;
    if (at > data_end)
      return MALFORMED;
    proto = tag->proto;
  }
  struct piece piece = {};
  int found = pcn_is_tag(proto) ? MALFORMED : NOT_IP;
  if (proto == htons(ETH_P_IP))
    found = read_ipv4(packet, at, data, data_end, &piece);
  else if (proto == htons(ETH_P_IPV6))
    found = read_ipv6(ctx, packet, at, data, data_end, &piece);
  return found == IS_IP ? read_payload(ctx, packet, &piece) : found;
}

/* Everything that the rule set says is taken down now, so that all µCubes speak of one version. */
static __always_inline bool open_version(struct packet *packet) {
  u32 zero = 0;
  u32 *now = epoch.lookup(&zero);
  if (!now)
    return false;
  packet->epoch = *now;
  u32 bank = packet->epoch & 1;
  struct version *version = versions.lookup(&bank);
  if (!version)
    return false;
  packet->mode = version->mode;
  packet->default_action = version->chains[CHAIN].action;
  packet->tuples = packet->family == 4 ? version->chains[CHAIN].tuples4 : version->chains[CHAIN].tuples6;
  packet->page = (CHAIN * 2 + bank) * BANK_PAGES;
  return true;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = at_hand();
  if (!packet)
    return RX_DROP;
#if !PCN_XDP
  if (ctx->tc_index == OWN_ANSWER) {
    ctx->tc_index = 0;
    return RX_OK;
  }
#endif
  packet->ports = packet->talk = 0;
  packet->proto = packet->flags = packet->has_ports = packet->has_flags = 0;
  packet->state = packet->icmp_type = packet->later_fragment = packet->settled = packet->settles = 0;
  packet->at = packet->seat = packet->passes = 0;
  packet->after = 0;
  packet->best = NO_LABEL;
  packet->next.state = CONNECTION_NONE;
  packet->length = md->packet_len + 4 * tags_beside(ctx);
  packet->device = ctx->ingress_ifindex;

  int found = read_packet(ctx, packet);
  if (found == NOT_IP)
    return RX_OK;
  md->reason = PCN_DROP_MALFORMED;
  if (found == MALFORMED || !open_version(packet))
    return RX_DROP;
  if (packet->mode & MODE_TRACK)
    return go_on(ctx, FIREWALL_TRACK);
  return classify(ctx, md, packet);
}
