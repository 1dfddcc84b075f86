/* Who is isolated: asked by Envoy's routes, once for each request, before anything of ours is in its way.
 *
 * The answer is a word that the routes look up (isolating.py): `divert`, `isolated`, `watch`, or nothing. For an
 * ordinary customer this is all that the isolation costs.
 */
#include "request.h"

#include <stdlib.h>

#define TEXT(literal) ((text){literal, sizeof(literal) - 1})

const void *envoy_dynamic_module_on_matcher_data_input_config_new(void *envoy, view name, view config) {
  (void)envoy, (void)name;
  return divertor_settings(config);
}

void envoy_dynamic_module_on_matcher_data_input_config_destroy(const void *config) { free((void *)config); }

void envoy_dynamic_module_on_matcher_data_input_get(const void *config, void *question) {
  const struct route *route = config;
  source from = {envoy_dynamic_module_callback_matcher_data_input_get_header_value, question};
  view value;
  text answer;
  if (divertor_is_diverted(from, route)) answer = route->simulate ? TEXT("watch") : TEXT("divert");
  else if (divertor_isolated_by(from, route, &value)) answer = route->simulate ? TEXT("watch") : TEXT("isolated");
  else if (divertor_unrepeatable(from, route)) answer = TEXT("watch");
  else return;
  envoy_dynamic_module_callback_matcher_data_input_set_result(question, answer);
}
