/* What a request said as it arrived, kept until its route is chosen.
 *
 * Envoy goes from the one to the other without doing anything else in that thread. Asking it for a header instead
 * would make it index all of them, which costs as much as everything else we do.
 */
#ifndef DIVERTOR_ARRIVE_H
#define DIVERTOR_ARRIVE_H

#include "abi.h"

/* Takes what was kept, once; false when there is nothing, or it belongs to another request. */
bool divertor_arrived(void);

/* Whether Envoy might not be able to send the request again. */
bool divertor_is_unrepeatable(void);

/* One of its headers, by its name in lower case; as Envoy's own functions do. */
bool divertor_arrived_header(text name, view *value, size_t index);

#endif
