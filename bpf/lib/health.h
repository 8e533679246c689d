/* What a load balancer's worker knows of the backends that it checks (cubes/lib/health.py): kept for the next worker and to be shown.
 * The programs do not look at it: who is to be left out has no row in `members`. */
#ifndef PCN_LIB_HEALTH_H
#define PCN_LIB_HEALTH_H

enum health_error { HEALTH_NONE, HEALTH_REFUSED, HEALTH_TIMEOUT, HEALTH_UNREACHABLE, HEALTH_CLOSED, HEALTH_NO_HTTP, HEALTH_STATUS };
struct health {
  u32 healthy;
  u32 since; /* CLOCK_MONOTONIC, seconds */
  u32 error, status; /* of the last answer that was not right */
};
#define HEALTH_CHECKED 16384 /* backends of a cube */
#endif
