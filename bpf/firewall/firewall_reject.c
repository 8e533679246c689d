/* The firewall's µCube 5: answers a packet that is rejected, and sends the answer back the way it came.
 *
 * TCP is answered with a reset, made of the packet where it stands; all else, and TCP with IP options or in fragments, with ICMP's or
 * ICMPv6's "port unreachable" in the name of the packet's destination. A rule may name one answer for all that it matches. No answer, but the packet is dropped all the same: to errors and
 * resets, to what no single station sent or is to get, to later fragments, to packets with a tag inside for which there is no reset, and
 * beyond ANSWERS_A_SECOND.
 */
#include "firewall.h"
#include "lib/icmp_error.h"
#include "lib/ratelimit.h"

#define ANSWERS_A_SECOND 1000 /* on each CPU */
#define DESTINATION_UNREACHABLE4 3
#define DESTINATION_UNREACHABLE6 1
/* What is answered, by cubes/firewall/rules.py: ANSWERS; and the code of the error by this number, four bits each. */
enum answer { ANSWER_AS_USUAL, ANSWER_RESET };
#define CODES4 0x2a9d01333ULL
#define CODES6 0x411103444ULL

BPF_TABLE("percpu_array", u32, struct ratelimit, answered, 1);

static __always_inline bool may_answer(void) {
  u32 zero = 0;
  struct ratelimit *limit = answered.lookup(&zero);
  return limit && ratelimit_take(limit, ANSWERS_A_SECOND);
}

/* An answer is sent by one station to another. */
static __always_inline bool are_hosts(const struct packet *packet) {
  if (packet->family == 4)
    return is_host4(packet->src[3]) && is_host4(packet->dst[3]);
  return *(u8 *)packet->src != 0xff && !is_unspecified(packet->src) && *(u8 *)packet->dst != 0xff;
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

static __always_inline u32 answer_of(const struct packet *packet) {
  return packet->best != NO_LABEL ? packet->action / (ACTION_KIND + 1) & 15 : ANSWER_AS_USUAL;
}

static __always_inline bool make_error(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct packet *packet, u32 answer) {
  struct icmp_error error4 = {.type = DESTINATION_UNREACHABLE4, .code = CODES4 >> (answer * 4) & 15};
  struct icmp_error error6 = {.type = DESTINATION_UNREACHABLE6, .code = CODES6 >> (answer * 4) & 15};
  if (packet->family == 4)
    return icmp_error4(ctx, md, &error4, packet->dst[3], packet->src[3], NULL);
  return icmp_error6(ctx, md, &error6, packet->dst, packet->src, NULL);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  u8 target = MULTICAST;
  md->reason = PCN_DROP_POLICY;
  if (!packet)
    return RX_DROP;
  pcn_count_drop(PCN_DROP_POLICY); /* the packet itself; an answer goes in its place */
  pcn_load_bytes(ctx, 0, &target, 1);
  if (target & MULTICAST || packet->later_fragment || !are_hosts(packet) || !may_answer())
    return PCN_SHOT;
  bool made = false;
  u32 answer = answer_of(packet);
  if (answer <= ANSWER_RESET && packet->has_flags && may_get_reset(&packet->parsed))
    made = tcp_reset(ctx, &packet->parsed);
  else if (answer == ANSWER_RESET || packet->l3 != sizeof(struct ethhdr) || is_error(packet) || (packet->has_flags && packet->flags & RST))
    made = false;
  else
    made = make_error(ctx, md, packet, answer);
  return made ? send_back(ctx) : PCN_SHOT;
}
