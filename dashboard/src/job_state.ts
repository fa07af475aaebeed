// What a job's state means. The table of controls is the service's own, see types.ts.

import { activeStates, type Control, type JobState, possibleIn, type Standing } from "./types";

export const ended = (state: JobState): boolean => !activeStates.includes(state);

// A job that was paused before it started waits in the queue; a started one keeps its instance.
export const standing = (state: JobState, isStarted: boolean): Standing =>
  state === "paused" && !isStarted ? "paused in the queue" : state;

export const possible = (state: JobState, isStarted: boolean, isCancelling: boolean): readonly Control[] =>
  isCancelling ? [] : possibleIn[standing(state, isStarted)];
