/* A learning switch with VLANs (802.1Q), each with a spanning tree.
 *
 * STP is 1 if trees are on: then a port without the worker's word neither learns nor forwards, whoever runs.
 *
 * Stations that the configuration pins to a port are in a table of their own: the learned ones live in an LRU, which
 * must be free to evict. STATIC is 1 while there are pinned ones; without any, their look-ups are not loaded.
 * Ageing is checked at look-up: a station not seen for longer than aging_time floods.
 */
#include "bridge.h"

static __always_inline void learn(struct fdb_key *source, u32 port, u32 now) {
  struct fdb_station *known;
  if (PCN_CONST(STATIC) && fdb_static.lookup(source))
    return;
  known = fwdtable.lookup(source);
  if (!known) {
    struct fdb_station fresh = {.port = port, .seen = now, .type = 1};
    fwdtable.update(source, &fresh);
  } else if (known->port != port || known->seen != now) {
    /* Written only when something is new: a hot station's row would otherwise bounce between CPUs. */
    known->port = port;
    known->seen = now;
  }
}

static __always_inline struct fdb_station *find(struct fdb_key *target, u32 now) {
  u32 zero = 0;
  struct fdb_settings *settings = fdb_config.lookup(&zero);
  struct fdb_station *station;
  if (PCN_CONST(STATIC) && (station = fdb_static.lookup(target)))
    return station;
  station = fwdtable.lookup(target);
  /* Another CPU may just have written a later second than ours: such an age is negative, not huge. */
  if (!station || !settings)
    return NULL;
  s32 age = now - station->seen;
  return age > 0 && (u32)age > settings->aging_time ? NULL : station;
}

/* 01:80:c2:00:00:00 to :0f are for the station at the other end of a wire (802.1Q 8.6.3): spanning tree, pause frames, LACP, 802.1X, LLDP. */
static __always_inline bool is_of_one_wire(const u8 *mac) {
  return mac[0] == 0x01 && mac[1] == 0x80 && mac[2] == 0xc2 && !(mac[3] | mac[4]) && mac[5] < 0x10;
}

/* Whose frame it is. A tag with VLAN 0 says a priority, and nothing else. */
static __always_inline bool classify(struct CTXTYPE *ctx, const struct bridge_port *port, struct bridge_frame *frame) {
  struct pcn_tag tag = pcn_get_tag(ctx);
  frame->vlan = 0;
  frame->priority = 0;
  frame->has = PCN_UNTAGGED;
  if (tag.protocol == htons(ETH_P_8021Q)) {
    frame->has = ntohs(tag.tci);
    frame->vlan = frame->has & 0xfff;
    frame->priority = frame->has & 0xf000;
  }
  if (frame->vlan)
    return port->flags & PORT_TRUNK;
  frame->vlan = port->vlan;
  return frame->vlan;
}

static __always_inline bool is_bpdu(const u8 *mac) {
  return (is_of_one_wire(mac) && !mac[5]) || (mac[0] == 0x01 && !mac[1] && mac[2] == 0x0c && mac[3] == 0xcc && mac[4] == 0xcc && mac[5] == 0xcd);
}

/* Up with it, whatever state its port is in. */
static __always_inline int hear_bpdu(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 vlan) {
  struct stp_key key = {.port = md->in_port, .vlan = vlan};
  struct ratelimit *limit = bpdu_limit.lookup(&key.port);
  md->reason = DROP_RESERVED;
  if (!stp_memory.lookup(&key) || !limit)
    return RX_DROP;
  md->reason = DROP_LIMITED;
  if (!ratelimit_take(limit, BPDUS_A_SECOND))
    return RX_DROP;
  md->md[0] = vlan;
  return pcn_pkt_controller(ctx, md, SLOW_BPDU);
}

enum { LEARNS = 1, FORWARDS = 2 };
/* What a port may do with a VLAN's frames. */
static __always_inline u32 stp_state(u32 number, u32 vlan) {
  struct bridge_port *port = ports.lookup(&number);
  struct stp_port *cleared = stp_ports.lookup(&number);
  u32 word = vlan / 64 % 64;
  if (!port || !cleared || cleared->id != port->id)
    return 0;
  return (cleared->learning[word] >> vlan % 64 & 1) | (cleared->forwarding[word] >> vlan % 64 & 1) << 1;
}

/* Leave those ports that forward. Loop bound: the bits of a word, up to PORTS in all. */
static __always_inline void keep_forwarding(struct pcn_ports *members, u32 vlan) {
  u32 most = PCN_CONST(PORTS);
  for (u32 i = 0; i < PCN_PORT_WORDS; i++) {
    u64 all = members->word[i], kept = 0;
    for (u32 bit = 0; bit < 64 && i * 64 + bit < most; bit++)
      if (all >> bit & 1)
        kept |= (u64)(stp_state(i * 64 + bit, vlan) >> 1) << bit;
    members->word[i] = kept;
  }
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct fdb_key source = {}, target = {};
  struct bridge_frame frame;
  u32 now = clock_seconds(), in_port = md->in_port, zero = 0;
  md->reason = PCN_DROP_MALFORMED;
  if (data + sizeof(*eth) > data_end)
    return RX_DROP;
  __builtin_memcpy(source.mac, eth->h_source, 6);
  __builtin_memcpy(target.mac, eth->h_dest, 6);

  md->reason = DROP_VLAN;
  struct bridge_port *port = ports.lookup(&in_port);
  if (!port || !classify(ctx, port, &frame))
    return RX_DROP;
  struct bridge_vlan *own = vlans.lookup(&frame.vlan), *all = vlans.lookup(&zero);
  if (!own || !all)
    return RX_DROP;
  if (!pcn_has_port(&own->members, in_port) && !pcn_has_port(&all->members, in_port))
    return RX_DROP;
  source.vlan = target.vlan = frame.vlan;

  u32 state = LEARNS | FORWARDS;
  if (PCN_CONST(STP)) {
    if (is_bpdu(target.mac))
      return hear_bpdu(ctx, md, frame.vlan);
    state = stp_state(in_port, frame.vlan);
  }
  if (is_of_one_wire(target.mac)) {
    u32 group = target.mac[5];
    md->reason = DROP_RESERVED;
    if (!forwarded_groups.lookup(&group))
      return RX_DROP;
  }
  if (state & LEARNS && !(source.mac[0] & MULTICAST))
    learn(&source, in_port, now);
  md->reason = DROP_BLOCKED;
  if (!(state & FORWARDS))
    return RX_DROP;

  struct fdb_station *station = target.mac[0] & MULTICAST ? NULL : find(&target, now);
  if (station) {
    u32 out = station->port;
    if (out == in_port) {
      md->reason = PCN_DROP_POLICY;
      return RX_DROP; /* it is on the side it came from */
    }
    if (PCN_CONST(STP) && !(stp_state(out, frame.vlan) & FORWARDS))
      return RX_DROP;
    md->reason = DROP_VLAN;
    if (!pcn_has_port(&own->members, out) && !pcn_has_port(&all->members, out))
      return RX_DROP;
    if (!pcn_retag(ctx, frame.has, pcn_has_port(&own->untagged, out) ? PCN_UNTAGGED : frame.priority | frame.vlan))
      return pcn_count_drop(PCN_DROP_MALFORMED);
    return pcn_pkt_redirect(ctx, md, out);
  }
  struct pcn_group group;
  pcn_unite(&group.members, &own->members, &all->members);
  group.untagged = own->untagged;
  if (PCN_CONST(STP))
    keep_forwarding(&group.members, frame.vlan);
  return pcn_pkt_flood_group(ctx, md, &group, frame.has, frame.priority | frame.vlan);
}
