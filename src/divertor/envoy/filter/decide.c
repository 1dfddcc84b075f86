/* Who is isolated: asked by Envoy's routes, once for each request, before anything of ours is in its way.
 *
 * The answer is a word that the routes look up (isolating.py): `divert`, `isolated`, `watch`, or nothing. For an
 * ordinary customer this is all that the isolation costs.
 */
#include "arrive.h"
#include "request.h"

#include <stdlib.h>
#include <string.h>

#define TEXT(literal) ((text){literal, sizeof(literal) - 1})

const void *envoy_dynamic_module_on_matcher_data_input_config_new(void *envoy, view name, view config) {
  (void)envoy, (void)name;
  return divertor_settings(config);
}

void envoy_dynamic_module_on_matcher_data_input_config_destroy(const void *config) { free((void *)config); }

static bool ask(void *question, int map, text name, view *value, size_t index, size_t *count) {
  return envoy_dynamic_module_callback_matcher_data_input_get_header_value(question, map, name, value, index, count);
}

/* What the request said as it came, but for what Envoy or another extension of ours has set since: the filter, which
 * isolates by it, sees that too. */
static bool recall(void *question, int map, text name, view *value, size_t index, size_t *count) {
  static const char *const later[] = {"x-envoy-",     "x-divertor", "x-forwarded-",
                                       "x-request-id", "host",       "referer"};
  for (size_t i = 0; i < sizeof later / sizeof *later; i++)
    if (name.length >= strlen(later[i]) && memcmp(name.at, later[i], strlen(later[i])) == 0)
      return ask(question, map, name, value, index, count);
  return divertor_arrived_header(name, value, index);
}

void envoy_dynamic_module_on_matcher_data_input_get(const void *config, void *question) {
  const struct route *route = config;
  view value;
  text answer = {NULL, 0};
  source from = {ask, question};
  /* A request that Envoy sends again has not just arrived. */
  bool arrived = divertor_arrived() && !divertor_header(from, TEXT("x-envoy-original-url"), 0, &value);
  if (arrived) from.get = recall;
  if (!arrived && divertor_is_diverted(from, route)) answer = route->simulate ? TEXT("watch") : TEXT("divert");
  else if (divertor_isolated_by(from, route, &value)) answer = route->simulate ? TEXT("watch") : TEXT("isolated");
  else if (arrived && divertor_is_unrepeatable()) answer = TEXT("watch");
  if (answer.length) envoy_dynamic_module_callback_matcher_data_input_set_result(question, answer);
}
