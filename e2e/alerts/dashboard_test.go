package alerts

import "testing"

// TestDashboard: each panel says what it shows, in which unit, and asks the Prometheus that
// the person chose.
func TestDashboard(t *testing.T) {
	dashboard, err := ReadDashboard(root + "/charts/pillion/files/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(dashboard.Panels) == 0 {
		t.Fatal("there is no panel")
	}
	titles, ids := map[string]bool{}, map[int]bool{}
	for _, panel := range dashboard.Panels {
		if panel.Row == "" || panel.Description == "" || panel.FieldConfig.Defaults.Unit == "" || len(panel.Targets) == 0 {
			t.Errorf("panel %q: a row, a description, a unit or a query is missing", panel.Title)
		}
		if panel.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q: it asks %q, want ${datasource}", panel.Title, panel.Datasource.UID)
		}
		if titles[panel.Title] || ids[panel.ID] {
			t.Errorf("panel %q: its title or its id %d is another's", panel.Title, panel.ID)
		}
		titles[panel.Title], ids[panel.ID] = true, true
	}
}
