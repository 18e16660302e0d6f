/** Names for the generated API types; nothing here describes a shape by hand. */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type SessionRow = Schemas["SessionRow"];
export type SessionList = Schemas["SessionList"];
export type SessionDetail = Schemas["SessionDetail"];
export type CallRow = Schemas["CallRow"];
export type CallDetail = Schemas["CallDetail"];
export type Coverage = Schemas["Coverage"];
export type CoverageReport = Schemas["CoverageReport"];
export type Evidence = Schemas["Evidence"];
export type Gap = Schemas["Gap"];
export type ImportProgress = Schemas["ImportProgress"];
export type Status = Schemas["Status"];
export type Timeline = Schemas["Timeline"];
export type TimelineItem = Schemas["TimelineItem"];
export type Verdict = Schemas["Verdict"];
export type Outcome = CallRow["outcome"];
export type ItemKind = TimelineItem["kind"];

/**
 * One message of the live stream, with its lists always present. The stream's envelope is no HTTP answer, so the API
 * description does not carry it; what it wraps is generated.
 */
export interface LiveMessage {
  type: string;
  sessions: SessionRow[];
  session_id: string | null;
  items: TimelineItem[];
  status: Status | null;
}
