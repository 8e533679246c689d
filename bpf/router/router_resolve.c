/* The router's µCube 3: a packet whose next hop's MAC address is not known.
 *
 * While an agent looks after the cube the packet goes there and waits. Without one it is lost, but it becomes the question:
 * an ARP request, or a neighbour solicitation, and the next packet passes. One question a second for each neighbour.
 *
 * What lib/craft.h keeps of the packet lies behind the ARP request, where nobody looks, or in an option of the
 * solicitation that hosts step over.
 */
#include "router.h"
#include "lib/arp.h"
#include "lib/nd.h"

#define BURST (8 * NS)    /* a source's 250 questions, or 4,000 packets that wait */
#define QUESTION (32 * MS) /* of a source's time: 31 a second, of a port's 125, of the router's 500 */
#define PACKET (2 * MS)    /* that is handed up while its question is open */

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
  struct arp_frame question;
  struct route *beside = find_route4(key->address + 12);
  if (!beside || beside->kind != ROUTE_CONNECTED)
    return refuse(md, DROP_UNRESOLVED);
  arp_request(&question, out->mac, beside->via + 12, key->address + 12);
  if (reshape(ctx, md, sizeof(question), false) < 0 || pcn_store_bytes(ctx, 0, &question, sizeof(question)))
    return refuse(md, DROP_UNRESOLVED);
  return sent_for(ctx, md, key->port);
}

static __always_inline int ask6(struct CTXTYPE *ctx, struct pkt_metadata *md, struct neighbour_key *key, struct router_port *out) {
  if (!nd_solicit(ctx, md, out->mac, out->link_local, key->address))
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
