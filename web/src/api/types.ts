/** Names for the generated API types; nothing here describes a shape by hand. */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type SessionRow = Schemas["SessionRow"];
export type SearchHit = Schemas["SearchHit"];
export type SessionList = Schemas["SessionList"];
export type SessionDetail = Schemas["SessionDetail"];
export type CallRow = Schemas["CallRow"];
export type CallDetail = Schemas["CallDetail"];
export type Coverage = Schemas["Coverage"];
export type CoverageReport = Schemas["CoverageReport"];
export type Evidence = Schemas["Evidence"];
export type Gap = Schemas["Gap"];
export type ImportProgress = Schemas["ImportProgress"];
/** A message as it was parsed, with its defaults filled in. */
export type LiveMessage = Required<Schemas["LiveMessage"]>;
export type Status = Schemas["Status"];
export type Timeline = Schemas["Timeline"];
export type TimelineItem = Schemas["TimelineItem"];
export type Verdict = Schemas["Verdict"];
export type Outcome = CallRow["outcome"];
export type ItemKind = TimelineItem["kind"];
