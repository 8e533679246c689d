/* A firewall for IPv4 and IPv6: µCube 0, where every frame arrives and its headers are read.
 *
 * What is no IP passes: ARP, and other protocols of the link. Up to two VLAN tags are stepped over; IP behind more is
 * dropped, as is what is cut short or says of itself what cannot be: lengths that do not fit, and an IPv4 header whose checksum is
 * wrong. IP that another protocol carries, which no rule can see, meets the chain's default. Later fragments have the ports (of
 * ICMP, the type and code) of their first one, if that came before them, and else none.
 */
#include "firewall.h"
#include "lib/fragments.h"
#include "lib/own_answer.h"

/* The number of these rules and sets: twice as many, as there is a step in between, and each sum is greater than the one before. */
static __always_inline u32 rule_version(u32 epoch) {
  u32 zero = 0, one = 1;
  struct set_version *even = set_versions.lookup(&zero), *odd = set_versions.lookup(&one);
  if (!even || !odd)
    return 0;
  u32 here = even->number, there = odd->number;
  return epoch + 2 * (here > there ? here : there) + !(here && there);
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
  if (packet->mode & MODE_REMATCH)
    packet->version = rule_version(packet->epoch) & ACCEPTED_VERSION;
  packet->sets = version->sets >> (CHAIN * 8) & 0xff;
  packet->default_action = version->chains[CHAIN].action;
  packet->tuples = packet->family == 4 ? version->chains[CHAIN].tuples4 : version->chains[CHAIN].tuples6;
  packet->page = (CHAIN * 2 + bank) * BANK_PAGES;
  return true;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  if (take_own_answer(ctx))
    return RX_OK;
  packet->state = packet->settled = packet->settles = packet->news = 0;
  packet->answers = packet->turned = 0;
  packet->outdated = UP_TO_DATE;
  packet->at = packet->seat = packet->passes = 0;
  packet->after = 0;
  packet->undecided.some = 0;
  packet->best = NO_LABEL;
  packet->next.state = CONNECTION_NONE;
  packet->length = md->packet_len + 4 * tags_beside(ctx);
  packet->device = ctx->ingress_ifindex;

  int found = parse_packet(ctx, &packet->parsed, md->packet_len);
  if (found == NOT_IP)
    return RX_OK;
  md->reason = PCN_DROP_MALFORMED;
  if (found == MALFORMED || !open_version(packet))
    return RX_DROP;
  if (found == HIDDEN_IP) {
    count_decided(DECIDER_DEFAULT, 0, packet->length);
    md->reason = PCN_DROP_POLICY;
    return packet->default_action == ACTION_ACCEPT ? RX_OK : RX_DROP;
  }
  packet->talk = packet->ports;
  if (packet->has_ports && is_icmp(&packet->parsed))
    packet->talk = icmp_ports(packet->icmp_type, packet->family, packet->icmp_id);
  if (packet->fragment)
    remember_fragment(packet);
  if (packet->mode & MODE_TRACK)
    return tail_call_next(ctx, FIREWALL_TRACK);
  return classify(ctx, md, packet);
}
