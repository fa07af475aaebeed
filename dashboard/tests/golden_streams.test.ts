import { expect, test } from "vitest";
import streams from "../../tests/golden_streams.json";
import { JobModel } from "../src/job_model";
import type { JobEvent } from "../src/types";

// The fields of the first object, as the second one has them.
const sameFields = <Shown extends object>(shown: Shown, model: object) =>
  Object.fromEntries(Object.keys(shown).map((key) => [key, model[key as keyof typeof model]]));

// The service must fold the same events to the same jobs: tests/events/test_job.py.
test.each(streams)("$name", ({ events, job }) => {
  const model = new JobModel(job.job_id);
  for (const event of events) model.apply(event as unknown as JobEvent);
  const resources = [...model.resources.values()];
  expect({
    ...sameFields(job, model),
    resources: resources.map((resource, at) => sameFields(job.resources[at]!, resource)),
  }).toEqual(job);
});
